"""Twenty unrelated sentences in each of fourteen languages, on the same twenty topics."""

from __future__ import annotations

ENGLISH = """
The train to the coast leaves at half past six in the morning.
My grandmother bakes bread with olives every Sunday.
Water boils at a lower temperature in the mountains.
She learned to play the violin when she was seven years old.
Please send me the invoice before the end of the month.
The cat is asleep on top of the warm washing machine.
Scientists have discovered a new species of frog in the rainforest.
I cannot help you with that, but a doctor can.
Our team lost the final by a single goal.
The museum is closed on Mondays and public holidays.
How many planets does the solar system have?
He forgot his umbrella and came home completely wet.
Democracy depends on the participation of its citizens.
The battery of my phone lasts only half a day.
Add two spoons of sugar and knead the dough well.
The old bridge was destroyed by the flood.
You should talk to a friend about how you feel.
The price of coffee has doubled in one year.
The children are playing football in the schoolyard.
I would like to book a double room for three nights.
"""

GERMAN = """
Der Zug an die Küste fährt morgens um halb sieben ab.
Meine Großmutter backt jeden Sonntag Brot mit Oliven.
In den Bergen kocht Wasser bei einer niedrigeren Temperatur.
Sie lernte Geige spielen, als sie sieben Jahre alt war.
Bitte schicken Sie mir die Rechnung vor dem Ende des Monats.
Die Katze schläft oben auf der warmen Waschmaschine.
Forscher haben im Regenwald eine neue Froschart entdeckt.
Dabei kann ich dir nicht helfen, aber ein Arzt kann es.
Unsere Mannschaft hat das Finale mit einem Tor Unterschied verloren.
Das Museum ist montags und an Feiertagen geschlossen.
Wie viele Planeten hat das Sonnensystem?
Er hat seinen Schirm vergessen und kam völlig durchnässt nach Hause.
Die Demokratie lebt von der Beteiligung ihrer Bürger.
Der Akku meines Handys hält nur einen halben Tag.
Zwei Löffel Zucker hinzufügen und den Teig gut kneten.
Die alte Brücke wurde vom Hochwasser zerstört.
Du solltest mit einem Freund darüber sprechen, wie du dich fühlst.
Der Preis für Kaffee hat sich in einem Jahr verdoppelt.
Die Kinder spielen auf dem Schulhof Fußball.
Ich möchte ein Doppelzimmer für drei Nächte buchen.
"""

FRENCH = """
Le train pour la côte part à six heures et demie du matin.
Ma grand-mère fait du pain aux olives tous les dimanches.
En montagne, l'eau bout à une température plus basse.
Elle a appris à jouer du violon quand elle avait sept ans.
Veuillez m'envoyer la facture avant la fin du mois.
Le chat dort sur la machine à laver encore chaude.
Des chercheurs ont découvert une nouvelle espèce de grenouille dans la forêt tropicale.
Je ne peux pas vous aider, mais un médecin le peut.
Notre équipe a perdu la finale d'un seul but.
Le musée est fermé le lundi et les jours fériés.
Combien de planètes compte le système solaire ?
Il a oublié son parapluie et il est rentré complètement trempé.
La démocratie vit de la participation de ses citoyens.
La batterie de mon téléphone ne tient qu'une demi-journée.
Ajoutez deux cuillères de sucre et pétrissez bien la pâte.
Le vieux pont a été détruit par l'inondation.
Tu devrais parler à un ami de ce que tu ressens.
Le prix du café a doublé en un an.
Les enfants jouent au football dans la cour de l'école.
Je voudrais réserver une chambre double pour trois nuits.
"""

SPANISH = """
El tren a la costa sale a las seis y media de la mañana.
Mi abuela hornea pan con aceitunas todos los domingos.
En la montaña el agua hierve a una temperatura más baja.
Aprendió a tocar el violín cuando tenía siete años.
Por favor, envíeme la factura antes de fin de mes.
El gato duerme encima de la lavadora caliente.
Los científicos han descubierto una nueva especie de rana en la selva.
No puedo ayudarte con eso, pero un médico sí puede.
Nuestro equipo perdió la final por un solo gol.
El museo cierra los lunes y los días festivos.
¿Cuántos planetas tiene el sistema solar?
Olvidó el paraguas y llegó a casa completamente mojado.
La democracia vive de la participación de sus ciudadanos.
La batería de mi teléfono solo dura medio día.
Añade dos cucharadas de azúcar y amasa bien.
El viejo puente fue destruido por la inundación.
Deberías hablar con un amigo sobre cómo te sientes.
El precio del café se ha duplicado en un año.
Los niños juegan al fútbol en el patio de la escuela.
Quisiera reservar una habitación doble para tres noches.
"""

RUSSIAN = """
Поезд к морю отправляется в половине седьмого утра.
Моя бабушка каждое воскресенье печёт хлеб с оливками.
В горах вода закипает при более низкой температуре.
Она научилась играть на скрипке, когда ей было семь лет.
Пришлите мне, пожалуйста, счёт до конца месяца.
Кошка спит на тёплой стиральной машине.
Учёные обнаружили в тропическом лесу новый вид лягушек.
Я не могу вам с этим помочь, но врач может.
Наша команда проиграла финал с разницей в один гол.
Музей закрыт по понедельникам и в праздничные дни.
Сколько планет в Солнечной системе?
Он забыл зонт и пришёл домой совершенно мокрый.
Демократия держится на участии граждан.
Аккумулятора моего телефона хватает только на полдня.
Добавьте две ложки сахара и хорошо вымесите тесто.
Старый мост был разрушен наводнением.
Тебе стоит поговорить с другом о том, что ты чувствуешь.
Цена на кофе за год выросла вдвое.
Дети играют в футбол на школьном дворе.
Я хотел бы забронировать двухместный номер на три ночи.
"""

ARABIC = """
يغادر القطار إلى الساحل في السادسة والنصف صباحا.
تخبز جدتي الخبز بالزيتون كل يوم أحد.
يغلي الماء في الجبال عند درجة حرارة أقل.
تعلمت العزف على الكمان عندما كان عمرها سبع سنوات.
أرجو أن ترسل لي الفاتورة قبل نهاية الشهر.
القطة نائمة فوق الغسالة الدافئة.
اكتشف العلماء نوعا جديدا من الضفادع في الغابة المطيرة.
لا أستطيع مساعدتك في ذلك، لكن الطبيب يستطيع.
خسر فريقنا المباراة النهائية بفارق هدف واحد.
المتحف مغلق أيام الاثنين وفي العطل الرسمية.
كم عدد كواكب النظام الشمسي؟
نسي مظلته وعاد إلى البيت مبللا تماما.
تعيش الديمقراطية بمشاركة مواطنيها.
بطارية هاتفي لا تدوم إلا نصف يوم.
أضف ملعقتين من السكر واعجن العجين جيدا.
دمر الفيضان الجسر القديم.
يجب أن تتحدث مع صديق عما تشعر به.
تضاعف سعر القهوة خلال سنة واحدة.
يلعب الأطفال كرة القدم في ساحة المدرسة.
أود أن أحجز غرفة مزدوجة لثلاث ليال.
"""

CHINESE = """
开往海边的火车早上六点半出发。
我奶奶每个星期天都烤橄榄面包。
在山上水的沸点比较低。
她七岁的时候学会了拉小提琴。
请在月底之前把发票寄给我。
猫正睡在暖和的洗衣机上面。
科学家在雨林里发现了一种新的青蛙。
这件事我帮不了你，但是医生可以。
我们队以一球之差输掉了决赛。
博物馆星期一和节假日不开放。
太阳系有多少颗行星？
他忘了带伞，回到家时全身都湿透了。
民主依靠公民的参与。
我手机的电池只能用半天。
加两勺糖，然后把面团揉匀。
那座老桥被洪水冲毁了。
你应该和朋友谈谈你的感受。
咖啡的价格一年之内翻了一番。
孩子们在学校操场上踢足球。
我想预订一间双人房，住三个晚上。
"""

JAPANESE = """
海へ行く電車は朝の六時半に出発します。
祖母は毎週日曜日にオリーブ入りのパンを焼きます。
山の上では水はもっと低い温度で沸騰します。
彼女は七歳のときにバイオリンを習いました。
月末までに請求書を送ってください。
猫は暖かい洗濯機の上で眠っています。
科学者たちは熱帯雨林で新しい種類のカエルを発見しました。
それについては私には手伝えませんが、医者ならできます。
私たちのチームは一点差で決勝に負けました。
博物館は月曜日と祝日に休みます。
太陽系には惑星がいくつありますか。
彼は傘を忘れて、ずぶ濡れで帰ってきました。
民主主義は市民の参加によって成り立っています。
私の携帯の電池は半日しかもちません。
砂糖を大さじ二杯加えて、生地をよくこねます。
古い橋は洪水で壊れてしまいました。
あなたの気持ちを友達に話したほうがいいですよ。
コーヒーの値段は一年で二倍になりました。
子供たちは校庭でサッカーをしています。
ダブルルームを三泊予約したいのですが。
"""

KOREAN = """
바다로 가는 기차는 아침 여섯 시 반에 출발합니다.
우리 할머니는 일요일마다 올리브 빵을 구우십니다.
산에서는 물이 더 낮은 온도에서 끓습니다.
그녀는 일곱 살 때 바이올린을 배웠습니다.
월말까지 청구서를 보내 주시기 바랍니다.
고양이가 따뜻한 세탁기 위에서 자고 있습니다.
과학자들이 열대 우림에서 새로운 개구리를 발견했습니다.
그건 제가 도와드릴 수 없지만 의사는 할 수 있습니다.
우리 팀은 한 골 차이로 결승전에서 졌습니다.
박물관은 월요일과 공휴일에 문을 닫습니다.
태양계에는 행성이 몇 개 있습니까?
그는 우산을 잊어버려서 흠뻑 젖은 채 집에 왔습니다.
민주주의는 시민의 참여로 살아갑니다.
제 휴대폰 배터리는 반나절밖에 가지 않습니다.
설탕 두 숟가락을 넣고 반죽을 잘 치대세요.
오래된 다리가 홍수로 무너졌습니다.
네 기분이 어떤지 친구와 이야기해 보는 게 좋겠어.
커피 값이 일 년 만에 두 배로 올랐습니다.
아이들이 학교 운동장에서 축구를 합니다.
더블룸을 세 밤 예약하고 싶습니다.
"""

AMHARIC = """
ወደ ባሕር ዳርቻ የሚሄደው ባቡር ከጠዋቱ አሥራ ሁለት ሰዓት ተኩል ላይ ይነሳል።
አያቴ በየእሁዱ የወይራ ዳቦ ትጋግራለች።
በተራራ ላይ ውሃ በዝቅተኛ ሙቀት ይፈላል።
ሰባት ዓመቷ ሳለ ቫዮሊን መጫወት ተማረች።
እባክዎ ደረሰኙን ከወሩ መጨረሻ በፊት ይላኩልኝ።
ድመቷ በሞቃታማው የልብስ ማጠቢያ ማሽን ላይ ተኝታለች።
ተመራማሪዎች በደን ውስጥ አዲስ የእንቁራሪት ዝርያ አገኙ።
በዚህ ልረዳህ አልችልም፤ ነገር ግን ሐኪም ይችላል።
ቡድናችን የፍጻሜውን ጨዋታ በአንድ ግብ ልዩነት ተሸነፈ።
ሙዚየሙ ሰኞ እና በበዓላት ቀን ዝግ ነው።
በሥርዓተ ፀሐይ ውስጥ ስንት ፕላኔቶች አሉ?
ጃንጥላውን ረስቶ ሙሉ በሙሉ በስብሶ ወደ ቤት መጣ።
ዴሞክራሲ የሚኖረው በዜጎች ተሳትፎ ነው።
የስልኬ ባትሪ ግማሽ ቀን ብቻ ይቆያል።
ሁለት ማንኪያ ስኳር ጨምረህ ሊጡን በደንብ አሸው።
አሮጌው ድልድይ በጎርፍ ፈረሰ።
ስለሚሰማህ ስሜት ከጓደኛህ ጋር ብትነጋገር ይሻላል።
የቡና ዋጋ በአንድ ዓመት ውስጥ እጥፍ ሆኗል።
ልጆች በትምህርት ቤቱ ግቢ ውስጥ እግር ኳስ ይጫወታሉ።
ለሦስት ሌሊት ባለ ሁለት አልጋ ክፍል መያዝ እፈልጋለሁ።
"""

TAMIL = """
கடற்கரைக்குச் செல்லும் ரயில் காலை ஆறரை மணிக்குப் புறப்படுகிறது.
என் பாட்டி ஒவ்வொரு ஞாயிற்றுக்கிழமையும் ரொட்டி சுடுகிறார்.
மலைகளில் தண்ணீர் குறைந்த வெப்பநிலையில் கொதிக்கிறது.
அவள் ஏழு வயதில் வயலின் வாசிக்கக் கற்றுக்கொண்டாள்.
மாத இறுதிக்குள் விலைப்பட்டியலை எனக்கு அனுப்புங்கள்.
பூனை சூடான சலவை இயந்திரத்தின் மேல் தூங்குகிறது.
விஞ்ஞானிகள் மழைக்காட்டில் புதிய தவளை இனத்தைக் கண்டுபிடித்துள்ளனர்.
அதில் நான் உங்களுக்கு உதவ முடியாது, ஆனால் ஒரு மருத்துவர் உதவுவார்.
எங்கள் அணி இறுதிப் போட்டியில் ஒரே ஒரு கோலில் தோற்றது.
அருங்காட்சியகம் திங்கட்கிழமைகளிலும் விடுமுறை நாட்களிலும் மூடப்பட்டிருக்கும்.
சூரிய குடும்பத்தில் எத்தனை கோள்கள் உள்ளன?
அவன் குடையை மறந்து முழுவதும் நனைந்து வீட்டுக்கு வந்தான்.
மக்களின் பங்கேற்பினால்தான் ஜனநாயகம் வாழ்கிறது.
என் கைபேசியின் மின்கலம் அரை நாள்தான் நீடிக்கும்.
இரண்டு கரண்டி சர்க்கரை சேர்த்து மாவை நன்றாகப் பிசையவும்.
பழைய பாலம் வெள்ளத்தில் இடிந்து விழுந்தது.
உன் உணர்வுகளைப் பற்றி ஒரு நண்பரிடம் பேச வேண்டும்.
காப்பியின் விலை ஒரே ஆண்டில் இரட்டிப்பாகிவிட்டது.
குழந்தைகள் பள்ளி மைதானத்தில் கால்பந்து விளையாடுகிறார்கள்.
மூன்று இரவுகளுக்கு இரட்டை அறை முன்பதிவு செய்ய விரும்புகிறேன்.
"""

GEORGIAN = """
მატარებელი ზღვისკენ დილის შვიდის ნახევარზე გადის.
ბებიაჩემი ყოველ კვირას ზეთისხილიან პურს აცხობს.
მთაში წყალი უფრო დაბალ ტემპერატურაზე დუღს.
მან ვიოლინოზე დაკვრა შვიდი წლის ასაკში ისწავლა.
გთხოვთ, ანგარიში თვის ბოლომდე გამომიგზავნოთ.
კატას თბილ სარეცხ მანქანაზე სძინავს.
მეცნიერებმა ტროპიკულ ტყეში ბაყაყის ახალი სახეობა აღმოაჩინეს.
ამაში ვერ დაგეხმარებით, მაგრამ ექიმი შეძლებს.
ჩვენმა გუნდმა ფინალი ერთი გოლით წააგო.
მუზეუმი ორშაბათს და დღესასწაულებზე დაკეტილია.
რამდენი პლანეტაა მზის სისტემაში?
ქოლგა დაავიწყდა და სახლში სულ სველი მივიდა.
დემოკრატია მოქალაქეების მონაწილეობით ცოცხლობს.
ჩემი ტელეფონის ელემენტი მხოლოდ ნახევარ დღეს ძლებს.
დაუმატეთ ორი კოვზი შაქარი და ცომი კარგად მოზილეთ.
ძველი ხიდი წყალდიდობამ დაანგრია.
შენი გრძნობების შესახებ მეგობარს უნდა დაელაპარაკო.
ყავის ფასი ერთ წელიწადში გაორმაგდა.
ბავშვები სკოლის ეზოში ფეხბურთს თამაშობენ.
მინდა ორადგილიანი ოთახი სამი ღამით დავჯავშნო.
"""

HINDI = """
समुद्र तट जाने वाली रेलगाड़ी सुबह साढ़े छह बजे छूटती है।
मेरी दादी हर रविवार को जैतून वाली रोटी बनाती हैं।
पहाड़ों में पानी कम तापमान पर उबलता है।
उसने सात साल की उम्र में वायलिन बजाना सीखा।
कृपया महीने के अंत से पहले मुझे बिल भेज दीजिए।
बिल्ली गर्म कपड़े धोने की मशीन के ऊपर सो रही है।
वैज्ञानिकों ने वर्षावन में मेंढक की एक नई प्रजाति खोजी है।
इसमें मैं आपकी मदद नहीं कर सकता, लेकिन डॉक्टर कर सकते हैं।
हमारी टीम सिर्फ़ एक गोल से फ़ाइनल हार गई।
संग्रहालय सोमवार और छुट्टियों के दिन बंद रहता है।
सौर मंडल में कितने ग्रह हैं?
वह छाता भूल गया और पूरी तरह भीगकर घर आया।
लोकतंत्र नागरिकों की भागीदारी से जीवित रहता है।
मेरे फ़ोन की बैटरी केवल आधे दिन चलती है।
दो चम्मच चीनी डालकर आटे को अच्छी तरह गूँध लें।
पुराना पुल बाढ़ में टूट गया।
तुम्हें अपनी भावनाओं के बारे में किसी दोस्त से बात करनी चाहिए।
कॉफ़ी का दाम एक साल में दोगुना हो गया है।
बच्चे स्कूल के मैदान में फ़ुटबॉल खेल रहे हैं।
मैं तीन रातों के लिए दो लोगों का कमरा बुक करना चाहता हूँ।
"""

THAI = """
รถไฟไปชายทะเลออกตอนหกโมงครึ่งตอนเช้า
คุณยายของฉันอบขนมปังมะกอกทุกวันอาทิตย์
บนภูเขาน้ำเดือดที่อุณหภูมิต่ำกว่า
เธอเรียนไวโอลินตอนอายุเจ็ดขวบ
กรุณาส่งใบแจ้งหนี้ให้ฉันก่อนสิ้นเดือน
แมวนอนหลับอยู่บนเครื่องซักผ้าอุ่น ๆ
นักวิทยาศาสตร์ค้นพบกบชนิดใหม่ในป่าฝน
เรื่องนั้นผมช่วยคุณไม่ได้ แต่หมอช่วยได้
ทีมของเราแพ้นัดชิงชนะเลิศแค่ประตูเดียว
พิพิธภัณฑ์ปิดวันจันทร์และวันหยุดราชการ
ระบบสุริยะมีดาวเคราะห์กี่ดวง
เขาลืมร่มและกลับบ้านตัวเปียกโชก
ประชาธิปไตยอยู่ได้ด้วยการมีส่วนร่วมของพลเมือง
แบตเตอรี่โทรศัพท์ของฉันใช้ได้แค่ครึ่งวัน
ใส่น้ำตาลสองช้อนแล้วนวดแป้งให้เข้ากัน
สะพานเก่าพังเพราะน้ำท่วม
คุณควรเล่าความรู้สึกให้เพื่อนฟัง
ราคากาแฟเพิ่มขึ้นเป็นสองเท่าในหนึ่งปี
เด็ก ๆ กำลังเล่นฟุตบอลในสนามโรงเรียน
ฉันต้องการจองห้องคู่สามคืน
"""

SENTENCES: dict[str, list[str]] = {
    name: text.strip().splitlines()
    for name, text in {
        "English": ENGLISH,
        "German": GERMAN,
        "French": FRENCH,
        "Spanish": SPANISH,
        "Russian": RUSSIAN,
        "Arabic": ARABIC,
        "Chinese": CHINESE,
        "Japanese": JAPANESE,
        "Korean": KOREAN,
        "Amharic": AMHARIC,
        "Tamil": TAMIL,
        "Georgian": GEORGIAN,
        "Hindi": HINDI,
        "Thai": THAI,
    }.items()
}
